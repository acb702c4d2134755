"""What is audited: the images, the model as it is deployed, and how both are brought here."""
