"""What heflwr.flower costs a Flower app: the same app with and without it, in one run."""
