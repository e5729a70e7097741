"""Published test sets in upstream's layouts, small and with invented text."""
