"""What routing wins and costs: a function for every table, of requests and their routers."""
