/* parcel: many descriptors in one. They lie in the queue of a socket, in their order, until
 * somebody takes them out, and are open all the while; whoever keeps the parcel keeps them. They
 * can be taken out once.
 *
 * A service manager that keeps descriptors for us may mix them up, and compares each with all that
 * it has: of a parcel it sees one.
 */
#ifndef RAPYERD_PARCEL_H
#define RAPYERD_PARCEL_H

/* A descriptor, close-on-exec; those in it stay open here, too. -1 with errno, ETOOMANYREFS when
 * there are more than a process may have. */
int parcel_pack(const int *fds, unsigned n);
/* Takes them out, close-on-exec, and closes the parcel. -1: there are not n of them, as somebody
 * took them before; what there was is closed then. */
int parcel_unpack(int parcel, int *fds, unsigned n);
/* Leaves nothing in it, whoever else has it; closes it. */
void parcel_void(int parcel);

#endif
