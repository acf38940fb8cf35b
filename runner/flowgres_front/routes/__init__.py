"""What the front answers, a module per topic; each has its ROUTES."""
