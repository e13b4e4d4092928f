"""How well a model does: free runs and true replies scored, compared, and drawn."""
