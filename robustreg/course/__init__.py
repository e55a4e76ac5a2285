"""The experiments of the regularization tutorial, as recipes: each as it was printed, and with its flaws removed."""
