"""What other products exported, as records of the directory: one module for each product, without input or output."""
