"""Data check: inspect image and label files, apply the rules, report the issues."""
