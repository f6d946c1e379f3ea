"""Statistics over all owners, without texts or ids. Imported by the command line and the statistics page."""
