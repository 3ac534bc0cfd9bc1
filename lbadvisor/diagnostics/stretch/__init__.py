"""The smallest stretch that closes the gap, in numbers and in words."""
