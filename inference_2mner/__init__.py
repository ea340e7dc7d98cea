"""A trained model in, entities out: whole corpora, and thresholds that can be trusted."""
