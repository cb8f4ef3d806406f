/** What day it is. Not for measuring time: it may go back. */
export type Calendar = () => Date;
