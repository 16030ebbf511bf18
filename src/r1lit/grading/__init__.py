"""Text in, verdict out: replies are parsed and judged here, without a model, a Trainer or a reward."""
