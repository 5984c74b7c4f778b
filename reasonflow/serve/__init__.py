"""Compiled programs as services for other tools."""
