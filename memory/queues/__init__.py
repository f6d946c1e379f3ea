"""Inbound and outbound messages and recurring tasks, claimed by replicas."""
