"""The network and its parts: torchvision's ResNet-18, layers of our own where torch's are slow or missing.

In: images as the network sees them. Out: features and numbers, of which a task makes what it promises.
"""
