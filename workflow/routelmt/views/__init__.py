"""What readers see of tables: CSV, LaTeX, Markdown, the summary. Nothing is computed here."""
