//! The program as its users run it: words in; text, files and exit statuses out.
