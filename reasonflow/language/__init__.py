"""What users write programs with: call sites, combinators and symbolic values."""
