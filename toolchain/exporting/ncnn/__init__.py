"""ncnn files: the network rewritten for the runtime's kernels, converted by pnnx, and described."""
