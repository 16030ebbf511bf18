"""From samples to training data: filters, near-duplicates, decontamination, rewriting and selection."""
