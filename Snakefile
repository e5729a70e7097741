# The workflow is workflow/Snakefile, where the Snakemake Workflow Catalog looks for it.
include: "workflow/Snakefile"


workflow.default_target = "all"  # that of an included file does not count
