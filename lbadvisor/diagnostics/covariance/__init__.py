"""The covariance of the weight increment, at the baseline's batch size and at the target's."""
