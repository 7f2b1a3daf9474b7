"""timm networks as pyramids of maps or as chains of blocks, dilation, and networks that timm lacks."""
