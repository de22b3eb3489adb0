"""Enabling SVM (15.4): what is checked first, how a refusal is named, and that nothing is touched on a refusal."""
