"""Simulated weeks without an incident: which alerts fire?"""
