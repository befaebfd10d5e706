"""Reports: one HTML file that opens offline, about one result, several, or a band.

A page is text and figures made here (every word of a user's escaped), charts drawn by `report.js` from data embedded as
base64, and no request to anywhere: a Content-Security-Policy with the hashes of our own script and style forbids all
else.  Long series are thinned to the points that draw as all of them (`replay.kernel.decimate`), which bounds the size.

    markup      numbers and tables as HTML
    svg         charts that stand still
    series      data for the charts that zoom
    depth       books and prices, read again from the data
    single several   what stands on a page
    page        one file of all that
"""
