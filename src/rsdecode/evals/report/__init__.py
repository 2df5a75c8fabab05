"""Reports of stored results: `read_report` counts, `write_report` gives it a form.

content.py      every number, by data set and method
patterns.py     rewards by outcome, acceptance by step, who wrote where
paper.py        Table 2 of the paper
excerpts.py     which trajectories the page shows
origin.py       how the results were made
tables.py       numbers as texts
drawing.py      matplotlib to SVG that follows a page's colours
pictures.py     what is drawn
page.py         report.html (assets/ holds its template, style and script)
markdown.py     report.md
write.py        the files
"""
