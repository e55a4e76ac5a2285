"""Speed, measured as ratios: each figure is two ways of doing one thing, alternating in one run."""
