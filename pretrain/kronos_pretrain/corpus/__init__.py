"""From people's images to training samples: the only room that reads image files."""
