"""What happens to a call between the capture and the cells."""
