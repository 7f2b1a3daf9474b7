"""Train a network: loop, tasks, optimizer, precision, run folder, stages, fine-tuning."""
