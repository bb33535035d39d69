"""heflwr in training loops and experiment trackers of others: one file each, and each imports only its own package.

Callbacks that open a window for a training and one for each of its epochs: `heflwr.callbacks.keras`, `.lightning`,
`.transformers`. Functions that write a monitor's or a window's numbers where the others are: `heflwr.callbacks.mlflow`,
`.wandb`, `.tensorboard`.
"""
