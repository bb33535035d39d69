"""What a node checks, a file a family; numbers and NumPy only. Nothing is imported here: a node holds one zone."""
