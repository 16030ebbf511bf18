"""What the modules of several stages share: sampling, scoring, updates and their limits."""
