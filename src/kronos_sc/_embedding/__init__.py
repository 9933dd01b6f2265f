"""From a call to features: what is asked for, what is read, where features go, who computes them."""
