"""Code of the user's: imported, called, named by its content, and blamed for what it raises."""
