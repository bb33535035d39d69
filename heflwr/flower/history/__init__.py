"""What a run cost, message by message: numbers, files and pictures. Needs no Flower."""
