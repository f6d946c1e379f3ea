"""The storm: a leak test of any chat from the outside, by many users at once with canaries."""
