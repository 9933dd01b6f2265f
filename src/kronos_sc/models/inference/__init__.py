"""The one inference loop, and what it knows of devices and number formats."""
