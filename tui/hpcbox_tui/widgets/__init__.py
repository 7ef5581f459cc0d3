"""What screens are made of: every widget draws its lines itself, however many rows it has."""
