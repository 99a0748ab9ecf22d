"""The project's own engine: a BERT's int8 graph in kernels that are written for it, in C, for CPUs with AVX512-VNNI or
AMX. They are compiled as the package is installed, where there is a C compiler."""
