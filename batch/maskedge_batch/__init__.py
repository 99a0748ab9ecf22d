"""Scores Parquet files with a masked language model and reports how well it knew them.

job.score_file           a whole file: Parquet -> scored Parquet + HTML, Markdown and JSON reports
scoring.score_batches    the pure core: record batches -> record batches, for other engines (Spark's `mapInArrow`, Ray)

Nothing is imported here, so that `mlm-batch` can say which extra is missing.
"""
