"""Large dumps: from text to a program by columns, each shape of line parsed only once.

``scan`` cuts text into lines and literals, ``literals`` decodes them, ``template`` parses one line
of a shape with the grammar and says what its literals mean, ``fill`` does the same to the columns
of all lines of that shape, ``read`` puts it together.
"""
