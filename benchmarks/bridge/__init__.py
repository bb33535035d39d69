"""What the bridge in Flower saves: reports and bytes against telling every round, at the same error."""
