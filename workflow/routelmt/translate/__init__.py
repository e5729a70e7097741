"""From segments to hypotheses: prompts, batches and engines."""
