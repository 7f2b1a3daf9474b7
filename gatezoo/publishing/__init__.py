"""Save model folders, render model cards and upload to the Hugging Face Hub."""
