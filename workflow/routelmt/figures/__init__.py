"""Figures: each reads tables, never predictions or models."""
