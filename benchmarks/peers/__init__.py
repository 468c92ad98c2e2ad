"""The same work in other libraries, each as its own users write it."""
