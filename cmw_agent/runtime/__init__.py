"""The composition root: makes what lives as long as the process and runs its periodic jobs."""
