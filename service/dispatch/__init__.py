"""Commands carried to Temporal, and Temporal's answers turned into outcomes."""
