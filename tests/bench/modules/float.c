/* A second or so of float-heavy work: planets that pull each other, a spectral norm, a Mandelbrot set. */

#include <math.h>
#include <stdio.h>

#define BODIES 5
#define SIDE 220

static double position[BODIES][3], speed[BODIES][3], mass[BODIES];

static double planets(int steps) {
    for (int body = 0; body < BODIES; body++) {
        mass[body] = body ? 1e-3 * body : 1;
        for (int axis = 0; axis < 3; axis++) {
            position[body][axis] = body * (1.0 + 0.1 * axis);
            speed[body][axis] = body ? 0.3 * (axis - 1) / body : 0;
        }
    }
    for (int step = 0; step < steps; step++) {
        for (int one = 0; one < BODIES; one++)
            for (int other = one + 1; other < BODIES; other++) {
                double apart[3], square = 1e-6;
                for (int axis = 0; axis < 3; axis++) {
                    apart[axis] = position[one][axis] - position[other][axis];
                    square += apart[axis] * apart[axis];
                }
                double pull = 1e-3 / (square * sqrt(square));
                for (int axis = 0; axis < 3; axis++) {
                    speed[one][axis] -= apart[axis] * mass[other] * pull;
                    speed[other][axis] += apart[axis] * mass[one] * pull;
                }
            }
        for (int body = 0; body < BODIES; body++)
            for (int axis = 0; axis < 3; axis++)
                position[body][axis] += 1e-3 * speed[body][axis];
    }
    return position[1][0] + position[4][2];
}

static double element(int row, int column) {
    return 1.0 / ((row + column) * (row + column + 1) / 2 + row + 1);
}

static void multiply(const double *from, double *to, int turned) {
    for (int row = 0; row < SIDE; row++) {
        double sum = 0;
        for (int column = 0; column < SIDE; column++)
            sum += (turned ? element(column, row) : element(row, column)) * from[column];
        to[row] = sum;
    }
}

static double norm(void) {
    static double u[SIDE], v[SIDE], between[SIDE];
    for (int n = 0; n < SIDE; n++)
        u[n] = 1;
    for (int round = 0; round < 10; round++) {
        multiply(u, between, 0), multiply(between, v, 1);
        multiply(v, between, 0), multiply(between, u, 1);
    }
    double both = 0, square = 0;
    for (int n = 0; n < SIDE; n++)
        both += u[n] * v[n], square += v[n] * v[n];
    return sqrt(both / square);
}

static double set(int side) {
    long inside = 0;
    for (int row = 0; row < side; row++)
        for (int column = 0; column < side; column++) {
            double real = 0, imaginary = 0, x = 3.0 * column / side - 2, y = 2.0 * row / side - 1;
            int step = 0;
            while (step < 100 && real * real + imaginary * imaginary < 4) {
                double next = real * real - imaginary * imaginary + x;
                imaginary = 2 * real * imaginary + y;
                real = next;
                step++;
            }
            inside += step;
        }
    return inside;
}

int main(void) {
    double sum = planets(2500000) + set(1100);
    for (int round = 0; round < 50; round++)
        sum += norm();
    printf("%.6f\n", sum);
    return 0;
}
